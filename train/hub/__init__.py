"""From an adapter to the Hub: model card, push, release, training jobs."""

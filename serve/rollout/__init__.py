"""From a revision to a live persona: validated, loaded, probed, routed."""

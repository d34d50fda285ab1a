"""How an evaluation asks models: engines of its own or the gateway's, sampled answers, judges and votes."""

"""Training on preferences: DPO, KTO, ORPO, reward models."""

"""`understudy verify`, `report` and `compare`, and how they ask models: engines, sampled answers, judges, votes."""

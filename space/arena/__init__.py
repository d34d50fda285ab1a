"""The arena tab: blind battles and votes."""

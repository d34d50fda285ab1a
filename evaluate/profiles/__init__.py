"""Profiles of several systems compared: consistency, faithfulness, bias."""

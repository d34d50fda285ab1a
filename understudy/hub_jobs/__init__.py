"""Jobs on the Hub's machines: this program and its data as a UV script, submitted and followed."""

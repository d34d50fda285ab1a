"""Third-party adapters: what lies in their folders, how they name bases and tensors, and how they are mended."""

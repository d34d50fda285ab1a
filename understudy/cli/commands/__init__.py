"""The commands and their help, a module for each part of the pipeline; what they do is in understudy.cli.*."""

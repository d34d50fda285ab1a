"""Generated code, judged by running it: problems, sandbox, pass@k."""

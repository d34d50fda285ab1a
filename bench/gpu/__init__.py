"""What is measured on the day when a GPU is at hand, rehearsed on a CPU: `bench/gpu.sh`."""

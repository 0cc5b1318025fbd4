"""The story of a mesh in ten steps, each told by what traffic did and judged by nothing else."""

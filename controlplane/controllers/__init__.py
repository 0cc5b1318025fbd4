"""What the leader writes to the cluster: views of the mesh in, objects and conditions out."""

"""What a mesh is: frozen values, standard library only.

Everybody may import these; only ``controlplane.mesh`` knows how they come about.
"""

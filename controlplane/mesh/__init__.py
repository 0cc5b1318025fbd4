"""The rules of ambient: manifests in, model values out. The only package that knows them.

``inputs`` are what sources fill, ``world.build_world`` joins the rules of the other modules into
one graph, ``controlplane.encode`` turns what comes out into bytes. The rules themselves are
restated in docs/protocol/.
"""

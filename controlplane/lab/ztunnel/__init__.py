"""The reference ztunnel: bytes come in, a node's view of the mesh and its verdicts go out.

It decodes wire bytes only and shares no code with the rules, encoders or sessions that it judges.
``session`` turns responses into state and acknowledgements without any I/O, ``client`` carries it
over gRPC, ``resolve`` and ``policies`` answer what the node would do, ``audit`` watches the server.
The behaviour is written down in docs/protocol/ztunnel.md (ZT rules).
"""

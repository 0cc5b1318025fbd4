"""A node proxy of the lab: what a real one does for the pods of its node, without root's rights.

Configuration and certificates come from a real control plane; pods' connections come in through
explicit ports and go on as HBONE, to waypoints or as they are (docs/protocol/ztunnel.md).
"""

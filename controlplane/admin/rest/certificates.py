"""Routes about certificates and who signs them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from controlplane.admin.mesh_view import MeshView
from controlplane.admin.problem_detail import responses
from controlplane.admin.queries import CertificateQuery
from controlplane.admin.rest.answers import tagged
from controlplane.admin.rest.mesh import LISTS
from controlplane.admin.rules import ViewerOf, WholeMeshViewer
from controlplane.admin.values.certificates import AuthoritiesValue, CertificateValue
from controlplane.admin.values.common import Page


def certificate_routes(view: MeshView) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["certificates"])

    @routes.get(
        "/certificates",
        response_model=Page[CertificateValue],
        responses={**LISTS, **responses(503)},
    )
    async def list_certificates(
        request: Request, viewer: ViewerOf, query: Annotated[CertificateQuery, Query()]
    ) -> Response:
        """List the ledger: certificates issued, or requests refused, newest first."""
        return tagged(request, await view.certificates(viewer, query))

    @routes.get(
        "/authorities",
        response_model=AuthoritiesValue,
        responses=responses(401, 403, 404, 429, 503),
    )
    async def get_authorities(request: Request, viewer: WholeMeshViewer) -> Response:
        """Return who signs and what is trusted. Public certificates only, never keys."""
        return tagged(request, await view.authorities(viewer))

    return routes

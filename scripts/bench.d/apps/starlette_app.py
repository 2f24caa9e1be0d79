"""A route with a parameter, answered as JSON, as Starlette's users write it."""

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def index(request):
    return JSONResponse({"message": "Hello, world!"})


async def hello(request):
    return JSONResponse({"message": f"Hello, {request.path_params['name']}!"})


app = Starlette(routes=[Route("/", index), Route("/hello/{name}", hello)])

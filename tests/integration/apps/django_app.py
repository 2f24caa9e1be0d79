"""A whole Django site in one file; `application` is WSGI, `asgi` ASGI."""

from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="only a test", DEBUG=False, USE_TZ=True
)
django.setup()


def hello(request):
    return HttpResponse("Hello, world!")


def echo_form(request):
    return JsonResponse({"name": request.POST["name"], "size": len(request.FILES["file"].read())})


def echo_query(request, word):
    return JsonResponse({"q": request.GET.getlist("q"), "word": word, "host": request.get_host()})


def stream(request):
    return StreamingHttpResponse(f"line {number}\n" for number in range(100))


def send_file(request):
    return FileResponse(Path("data.bin").open("rb"))


def boom(request):
    raise ValueError("boom")


urlpatterns = [
    path("", hello),
    path("form", echo_form),
    path("query/<str:word>", echo_query),
    path("stream", stream),
    path("file", send_file),
    path("boom", boom),
]

application = get_wsgi_application()
asgi = get_asgi_application()

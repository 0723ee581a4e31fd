"""The shop in Django, for WSGI: `demos.django_shop:application`."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from django.conf import settings

from demos import parcels, store

settings.configure(
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        # No CsrfViewMiddleware: the others have none, and the same journeys lead through all three.
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=store.SECRET,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).parent / "templates"],
        }
    ],
)

from django.core.wsgi import get_wsgi_application  # noqa: E402 - It reads the settings above.
from django.http import (  # noqa: E402
    Http404,
    HttpResponse,
    HttpResponseForbidden,
    HttpResponseNotAllowed,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.http import require_POST, require_safe  # noqa: E402


@require_safe
def catalogue(request):
    return pages(request, "list.html", title="Shop", products=store.products(page_of(request)))


@require_safe
def search(request):
    text = request.GET.get("q", "")
    return pages(request, "list.html", title=f"Search: {text}", products=store.search(text))


@require_safe
def product(request, number):
    return pages(request, "product.html", product=found(number))


@require_POST
def review(request, number):
    if "user" not in request.session:
        return HttpResponseForbidden()
    found(number)
    store.add_review(number, request.session["user"], request.POST["text"])
    return see(f"/products/{number}")


def login(request):
    if request.method == "GET":
        return pages(request, "login.html")
    if request.method != "POST":
        return HttpResponseNotAllowed(["GET", "POST"])
    request.session["user"] = request.POST["name"][:50]
    return see("/")


@require_safe
def list_of_products(request):
    page = page_of(request)
    return JsonResponse({"page": page, "products": store.products(page)})


@require_safe
def product_as_json(request, number):
    return JsonResponse(found(number))


@require_POST
def upload(request):
    photo = request.FILES["photo"].read()
    return JsonResponse({"bytes": len(photo), "sha256": hashlib.sha256(photo).hexdigest()})


@require_safe
def download(request):
    return HttpResponse(parcels.CATALOGUE, content_type="application/octet-stream")


@require_safe
def delivery(request):
    time.sleep(parcels.DELIVERY)
    return JsonResponse({"days": 2})


@require_safe
def events(request):
    def stream():
        for event in parcels.EVENTS:
            yield event
            time.sleep(parcels.EVENT_PAUSE)

    return StreamingHttpResponse(stream(), content_type="text/event-stream")


def pages(request, template, **context):
    return render(request, template, {**context, "user": request.session.get("user")})


def page_of(request):
    try:
        return int(request.GET.get("page", 1))
    except ValueError:
        return 1


def found(number):
    product = store.product(number)
    if product is None:
        raise Http404
    return product


def see(location):
    return HttpResponse(status=303, headers={"Location": location})


urlpatterns = [
    path("", catalogue),
    path("search", search),
    path("products/<int:number>", product),
    path("products/<int:number>/reviews", review),
    path("login", login),
    path("api/products", list_of_products),
    path("api/products/<int:number>", product_as_json),
    path("photos", upload),
    path("catalogue.bin", download),
    path("delivery", delivery),
    path("events", events),
]

application = get_wsgi_application()

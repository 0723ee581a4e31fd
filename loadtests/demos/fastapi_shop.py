"""The shop in FastAPI, for ASGI: `demos.fastapi_shop:application`."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the functions.

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

from demos import parcels, store

application = FastAPI()
application.add_middleware(SessionMiddleware, secret_key=store.SECRET)
templates = Jinja2Templates(Path(__file__).parent / "templates")

# The functions are coroutines that call the store: its queries take less time than a thread to run them in.


@application.get("/")
async def catalogue(request: Request, page: int = 1):
    return pages(request, "list.html", title="Shop", products=store.products(page))


@application.get("/search")
async def search(request: Request, q: str = ""):
    return pages(request, "list.html", title=f"Search: {q}", products=store.search(q))


@application.get("/products/{number}")
async def product(request: Request, number: int):
    return pages(request, "product.html", product=found(number))


@application.post("/products/{number}/reviews")
async def review(request: Request, number: int, text: Annotated[str, Form()]):
    if "user" not in request.session:
        raise HTTPException(403)
    found(number)
    store.add_review(number, request.session["user"], text)
    return RedirectResponse(f"/products/{number}", 303)


@application.get("/login")
async def ask_for_name(request: Request):
    return pages(request, "login.html")


@application.post("/login")
async def log_in(request: Request, name: Annotated[str, Form()]):
    request.session["user"] = name[:50]
    return RedirectResponse("/", 303)


@application.get("/api/products")
async def list_of_products(page: int = 1):
    return {"page": page, "products": store.products(page)}


@application.get("/api/products/{number}")
async def product_as_json(number: int):
    return found(number)


@application.post("/photos")
async def upload(photo: UploadFile):
    content = await photo.read()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@application.get("/catalogue.bin")
async def download():
    return Response(parcels.CATALOGUE, media_type="application/octet-stream")


@application.get("/delivery")
async def delivery():
    await asyncio.sleep(parcels.DELIVERY)
    return {"days": 2}


@application.get("/events")
async def events():
    async def stream():
        for event in parcels.EVENTS:
            yield event
            await asyncio.sleep(parcels.EVENT_PAUSE)

    return StreamingResponse(stream(), media_type="text/event-stream")


@application.websocket("/chat")
async def chat(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(f"You said: {await websocket.receive_text()}")
    except WebSocketDisconnect:
        pass


def pages(request, template, **context):
    return templates.TemplateResponse(request, template, {**context, "user": request.session.get("user")})


def found(number):
    product = store.product(number)
    if product is None:
        raise HTTPException(404)
    return product

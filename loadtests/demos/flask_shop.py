"""The shop in Flask, for WSGI: `demos.flask_shop:application`."""

from __future__ import annotations

import hashlib
import time

from flask import Flask, Response, abort, redirect, render_template, request, session

from demos import parcels, store

application = Flask(__name__)
application.secret_key = store.SECRET


@application.get("/")
def catalogue():
    page = request.args.get("page", 1, type=int)
    return render_template("list.html", title="Shop", products=store.products(page), user=session.get("user"))


@application.get("/search")
def search():
    text = request.args.get("q", "")
    return render_template("list.html", title=f"Search: {text}", products=store.search(text), user=session.get("user"))


@application.get("/products/<int:number>")
def product(number):
    return render_template("product.html", product=found(number), user=session.get("user"))


@application.post("/products/<int:number>/reviews")
def review(number):
    if "user" not in session:
        abort(403)
    found(number)
    store.add_review(number, session["user"], request.form["text"])
    return redirect(f"/products/{number}", 303)


@application.get("/login")
def ask_for_name():
    return render_template("login.html", user=session.get("user"))


@application.post("/login")
def log_in():
    session["user"] = request.form["name"][:50]
    return redirect("/", 303)


@application.get("/api/products")
def list_of_products():
    page = request.args.get("page", 1, type=int)
    return {"page": page, "products": store.products(page)}


@application.get("/api/products/<int:number>")
def product_as_json(number):
    return found(number)


@application.post("/photos")
def upload():
    photo = request.files["photo"].read()
    return {"bytes": len(photo), "sha256": hashlib.sha256(photo).hexdigest()}


@application.get("/catalogue.bin")
def download():
    return Response(parcels.CATALOGUE, mimetype="application/octet-stream")


@application.get("/delivery")
def delivery():
    time.sleep(parcels.DELIVERY)
    return {"days": 2}


@application.get("/events")
def events():
    def stream():
        for event in parcels.EVENTS:
            yield event
            time.sleep(parcels.EVENT_PAUSE)

    return Response(stream(), mimetype="text/event-stream")


def found(number):
    return store.product(number) or abort(404)

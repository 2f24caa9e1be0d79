"""Flask as its quickstart has it: routes, JSON, a form, a session cookie, a streamed response, an error page."""

from pathlib import Path

from flask import Flask, Response, jsonify, request, send_file, session

app = Flask(__name__)
app.secret_key = "only a test"


@app.get("/")
def hello():
    return "Hello, world!"


@app.post("/json")
def echo_json():
    return jsonify(received=request.get_json(), address=request.remote_addr)


@app.post("/form")
def echo_form():
    return jsonify(name=request.form["name"], size=len(request.files["file"].read()))


@app.get("/visits")
def count_visits():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(100)), mimetype="text/plain")


@app.get("/url")
def url():
    return request.url


@app.get("/file")
def file():
    return send_file(Path("data.bin").resolve(), conditional=True)


@app.get("/boom")
def boom():
    raise ValueError("boom")

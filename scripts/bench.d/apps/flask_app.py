"""A route with a parameter, answered as JSON, as Flask's users write it."""

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(message="Hello, world!")


@app.get("/hello/<name>")
def hello(name):
    return jsonify(message=f"Hello, {name}!")

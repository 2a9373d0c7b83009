"""A plain Flask application; nothing in it knows of deployd."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return f"{os.environ.get('GREETING', 'hello')} from Flask\n"


@app.get("/health")
def health():
    return "ok\n"

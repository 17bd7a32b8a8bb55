"""Python's requests with a Basic credential: prints the status and the body."""

import os
import sys

import requests

response = requests.get(sys.argv[1], auth=("someone", os.environ["API_TOKEN"]))
print(response.status_code, response.headers.get("x-reflected"))
print(response.text)

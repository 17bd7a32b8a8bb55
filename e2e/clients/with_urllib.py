"""Python's urllib with a Bearer header: prints the status and the body."""

import os
import sys
import urllib.error
import urllib.request

request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + os.environ["API_TOKEN"]})
try:
    response = urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    response = error
print(response.status, response.headers.get("x-reflected"))
print(response.read().decode())

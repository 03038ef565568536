"""The `openai` package against a busy service: it must be told to wait, and obey."""

import sys
import threading
import urllib.request

import openai

base, opener = sys.argv[1], sys.argv[2]
plain = openai.OpenAI(base_url=base + "/v1", api_key="x", max_retries=0)
try:
    plain.moderations.create(input="hello")
    raise SystemExit("a full queue took more")
except openai.RateLimitError as error:
    assert error.code == "overloaded" and error.type == "rate_limit_error", error
    assert int(error.response.headers["retry-after-ms"]) > 0, error.response.headers
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers
# Room is made while the client waits; its own retries then succeed.
threading.Timer(0.3, lambda: urllib.request.urlopen(opener).read()).start()
patient = openai.OpenAI(base_url=base + "/v1", api_key="x", max_retries=3)
assert patient.moderations.create(input="hello").results[0].flagged is False
print("openai waits when told to: fine")

"""The real `openai` package against the service at argv[1]; argv[2] is a JPEG file."""

import base64
import sys

import openai

base, picture = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base + "/v1", api_key="sk-anything", max_retries=0)

one = client.moderations.create(input="you are a worthless idiot, shut up")
assert one.id.startswith("modr-") and one.model, one
result = one.results[0]
assert result.flagged is True, result
names = set(result.category_scores.model_dump(by_alias=True))
assert len(names & set(result.categories.model_dump(by_alias=True))) >= 13, names
for name in ("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
             "illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions",
             "sexual", "sexual/minors", "violence", "violence/graphic"):
    score = result.category_scores.model_dump(by_alias=True)[name]
    assert isinstance(score, float) and 0.0 <= score <= 1.0, (name, score)
    assert isinstance(result.categories.model_dump(by_alias=True)[name], bool), name
    types = result.category_applied_input_types.model_dump(by_alias=True)[name]
    assert (types == []) == (name in result.not_evaluated), (name, types)
assert result.category_scores.hate > 0.0

several = client.moderations.create(model="omni-moderation-latest", input=["hello everyone", "gg"])
assert [r.flagged for r in several.results] == [False, False], several

with open(picture, "rb") as file:
    url = "data:image/jpeg;base64," + base64.b64encode(file.read()).decode()
parts = [{"type": "text", "text": "hello everyone"},
         {"type": "image_url", "image_url": {"url": url}}]
both = client.moderations.create(input=parts)
assert len(both.results) == 1, both
assert "text" in both.results[0].category_applied_input_types.hate, both
seen = set(sum(both.results[0].category_applied_input_types.model_dump().values(), []))
print("input types:", sorted(seen))

raw = client.moderations.with_raw_response.create(input="hello everyone")
assert raw.headers.get("x-request-id") and raw.parse()._request_id, raw.headers

try:
    client.moderations.create(input=[])
    raise SystemExit("an empty input was taken")
except openai.BadRequestError as error:
    assert error.code == "invalid_item" and error.param == "input", error
    assert error.type == "invalid_request_error" and "empty" in error.message, error
try:
    far = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}]
    client.moderations.create(input=far)
    raise SystemExit("a private address was fetched")
except openai.PermissionDeniedError as error:
    assert error.code == "image_url_forbidden", error
print("openai", openai.__version__, "python: fine")

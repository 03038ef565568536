"""The real google-api-python-client against the service at argv[1]."""

import json
import sys

from googleapiclient import discovery
from googleapiclient.errors import HttpError

base = sys.argv[1]
client = discovery.build(
    "commentanalyzer",
    "v1alpha1",
    developerKey="any-key",
    discoveryServiceUrl=base + "/$discovery/rest?version=v1alpha1",
    static_discovery=False,
)

text = "Good morning \U0001F600 everyone. You are a worthless idiot, shut up!"
request = {
    "comment": {"text": text},
    "requestedAttributes": {"TOXICITY": {}, "SEVERE_TOXICITY": {}, "IDENTITY_ATTACK": {},
                            "INSULT": {}, "PROFANITY": {}, "THREAT": {}, "SEXUALLY_EXPLICIT": {},
                            "SPAM": {"scoreType": "PROBABILITY"}},
    "languages": ["en"],
    "spanAnnotations": True,
    "doNotStore": True,
    "clientToken": "token-1",
    "sessionId": "s",
    "communityId": "c",
    "context": {"entries": [{"text": "hello"}]},
}
answer = client.comments().analyze(body=request).execute()
assert answer["clientToken"] == "token-1" and answer["languages"] == ["en"], answer
assert "detectedLanguages" not in answer, answer
assert set(answer["attributeScores"]) == set(request["requestedAttributes"]), answer
toxicity = answer["attributeScores"]["TOXICITY"]
assert toxicity["summaryScore"]["type"] == "PROBABILITY", toxicity
assert toxicity["summaryScore"]["value"] > 0.5, toxicity
units = text.encode("utf-16-le")
spans = [units[2 * s["begin"]:2 * s["end"]].decode("utf-16-le") for s in toxicity["spanScores"]]
assert spans == ["Good morning \U0001F600 everyone.", "You are a worthless idiot, shut up!"], spans
calm, angry = (s["score"]["value"] for s in toxicity["spanScores"])
assert calm < 0.5 < angry, toxicity
severe = answer["attributeScores"]["SEVERE_TOXICITY"]["summaryScore"]["value"]
assert severe < toxicity["summaryScore"]["value"], answer

quiet = {"comment": {"text": "good morning everyone, how are you"},
         "requestedAttributes": {"TOXICITY": {"scoreThreshold": 0.9}, "INSULT": {}}}
answer = client.comments().analyze(body=quiet).execute()
assert set(answer["attributeScores"]) == {"INSULT"}, answer
assert answer["detectedLanguages"] == ["en"], answer
span = answer["attributeScores"]["INSULT"]["spanScores"]
assert (span[0]["begin"], span[0]["end"]) == (0, 34), span


def refused(body, status, kind, words):
    try:
        client.comments().analyze(body=body).execute()
    except HttpError as error:
        assert error.resp.status == status, error
        content = json.loads(error.content)["error"]
        assert content["code"] == status and words in content["message"], content
        assert content["details"][0].get("errorType") == kind, content
        assert words in error.reason, error.reason
        return content
    raise SystemExit(f"{body} was taken")


ask = {"TOXICITY": {}}
empty = refused({"comment": {"text": " "}, "requestedAttributes": ask}, 400, "COMMENT_EMPTY",
                "Comment must be non-empty.")
assert empty["status"] == "INVALID_ARGUMENT", empty
refused({"comment": {"text": "a" * 20481}, "requestedAttributes": ask}, 400, "COMMENT_TOO_LONG",
        "too long")
refused({"comment": {"text": "a"}}, 400, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes")
refused({"comment": {"text": "a"}, "requestedAttributes": {"KINDNESS": {}}}, 400,
        "INVALID_REQUEST", "Unknown requested attribute: KINDNESS")
german = {"comment": {"text": "guten Morgen"}, "languages": ["de"], "requestedAttributes": ask}
content = refused(german, 400, "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
                  "Attribute TOXICITY does not support request languages: de")
assert content["details"][0]["languageNotSupportedByAttributeError"]["attribute"] == "TOXICITY"
flirt = {"comment": {"text": "hello"}, "languages": ["en"],
         "requestedAttributes": {"FLIRTATION": {}, "TOXICITY": {}}}
refused(flirt, 400, "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE", "FLIRTATION")
flirt["dropUnsupportedAttributes"] = True
assert set(client.comments().analyze(body=flirt).execute()["attributeScores"]) == {"TOXICITY"}
try:
    suggestion = {"comment": {"text": "a"}, "attributeScores": {}}
    client.comments().suggestscore(body=suggestion).execute()
    raise SystemExit("a suggestion was taken")
except HttpError as error:
    assert error.resp.status == 501, error
    assert json.loads(error.content)["error"]["status"] == "UNIMPLEMENTED", error
print("google-api-python-client: fine")

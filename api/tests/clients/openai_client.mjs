// The real `openai` package for Node against the service at argv[2].
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.argv[2] + "/v1",
  apiKey: "sk-anything",
  maxRetries: 0,
});

const { data: one, request_id: requestId } = await client.moderations
  .create({ input: "you are a worthless idiot, shut up", model: "omni-moderation-latest" })
  .withResponse();
assert.ok(requestId, "no request id");
assert.ok(one.id.startsWith("modr-"));
const result = one.results[0];
assert.equal(result.flagged, true);
assert.equal(Object.keys(result.categories).length, 13);
for (const [name, score] of Object.entries(result.category_scores)) {
  assert.ok(score >= 0 && score <= 1, name);
  const types = result.category_applied_input_types[name];
  assert.equal(types.length === 0, result.not_evaluated.includes(name), name);
}
const several = await client.moderations.create({ input: ["hello everyone", "gg"] });
assert.deepEqual(several.results.map((r) => r.flagged), [false, false]);

await assert.rejects(client.moderations.create({ input: [] }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError, String(error));
  assert.equal(error.code, "invalid_item");
  assert.equal(error.param, "input");
  assert.equal(error.type, "invalid_request_error");
  return true;
});
console.log("openai node: fine");

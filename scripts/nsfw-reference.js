// What TensorFlow.js itself answers for the two networks of nsfwjs on 31 drawn pictures; the tests of
// the importer compare with it. Run in a folder where the packages are installed:
//
//   npm install @tensorflow/tfjs nsfwjs@4.3.0
//   node scripts/nsfw-reference.js > models/tests/data/nsfw-reference.json
//
// The pictures follow from integer arithmetic, so that the tests draw the same ones.

const path = require('path');
const from = require('module').createRequire(path.join(process.cwd(), 'package.json'));
const tf = from('@tensorflow/tfjs');
const root = path.join(process.cwd(), 'node_modules', 'nsfwjs', 'dist', 'models');

const PICTURES = 31;
const SIDE = 224;

function handler(name, shards) {
  const model = require(path.join(root, name, 'model.min.js'));
  const parts = shards.map((s) => Buffer.from(require(path.join(root, name, s)), 'base64'));
  const bytes = Buffer.concat(parts);
  return {
    load: async () => ({
      modelTopology: model.modelTopology,
      weightSpecs: model.weightsManifest.flatMap((g) => g.weights),
      weightData: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
      format: model.format,
      userDefinedMetadata: model.userDefinedMetadata,
    }),
  };
}

function picture(k) {
  const pixels = new Float32Array(SIDE * SIDE * 3);
  let at = 0;
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      for (let c = 0; c < 3; c++) {
        const slope = x * (3 + (k % 5) + c) + y * (5 - (k % 3) + c);
        const bend = (x * y) >> (4 + (k % 4));
        const tiles = ((x >> (3 + (k % 3))) ^ (y >> (2 + (k % 4)))) * (7 * k + 11 * c);
        pixels[at++] = ((slope + bend + tiles) % 256) / 255;
      }
    }
  }
  return tf.tensor4d(pixels, [1, SIDE, SIDE, 3]);
}

function answer(probabilities, features) {
  const values = Array.from(features.dataSync());
  return {
    probabilities: Array.from(probabilities.dataSync()),
    features_sum: values.reduce((a, b) => a + b, 0),
    // Every hundredth value tells a permutation from the right order.
    features_some: values.filter((_, i) => i % 100 === 0),
  };
}

(async () => {
  await tf.setBackend('cpu');
  const screen = await tf.loadLayersModel(handler('mobilenet_v2', ['group1-shard1of1.min.js']));
  const flatten = screen.layers.find((l) => l.getClassName() === 'Flatten');
  const both = tf.model({ inputs: screen.inputs, outputs: [screen.outputs[0], flatten.output] });
  const mid = await tf.loadGraphModel(
    handler('mobilenet_v2_mid', ['group1-shard1of2.min.js', 'group1-shard2of2.min.js']),
  );
  const squeeze = mid.executor.graph.nodes;
  const pooled = Object.keys(squeeze).find((n) => n.endsWith('feature_vector/SpatialSqueeze'));
  const out = { tfjs: tf.version.tfjs, pictures: [] };
  for (let k = 0; k < PICTURES; k++) {
    tf.tidy(() => {
      const x = picture(k);
      const [p, f] = both.predict(x);
      const [pm, fm] = mid.execute(x, ['Identity', pooled]);
      out.pictures.push({ v2: answer(p, f), mid: answer(pm, fm) });
    });
    process.stderr.write(`${k + 1}/${PICTURES}\n`);
  }
  console.log(JSON.stringify(out));
})();

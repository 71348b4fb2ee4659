// Runs the model in browsers and in Node with onnxruntime-web: npm install, then node javascript/run.mjs model.onnx%%ARGUMENTS%%
// Each further file holds one raw example of an input, as examples/0-in0.bin does.
import { beside, constants, inputs, outputs } from "./model.mjs";

/** A session: `model` is the file's content, `more` that of the files beside it, by name. */
export async function open(ort, model, more = {}) {
  ort.env.wasm.numThreads = 1;
  const externalData = beside.map((path) => ({ path, data: more[path] }));
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"], ...(beside.length ? { externalData } : {}) });
}

/** Real numbers by the outputs' names, for one raw example of each input, in their order. */
export async function run(ort, session, raw) {
  const feeds = Object.fromEntries(constants.map((c) => [c.there, new ort.Tensor(c.type, c.make(), c.shape)]));
  inputs.forEach((i, place) => (feeds[i.there] = new ort.Tensor(i.type, i.prepare(raw[place]), i.shape)));
  const found = await session.run(feeds);
  return Object.fromEntries(outputs.map((o) => [o.name, Array.from(found[o.there].data, o.real)]));
}

if (typeof process !== "undefined" && process.argv?.[1]?.endsWith("run.mjs")) {
  const { readFileSync } = await import("node:fs");
  const { dirname, join } = await import("node:path");
  const ort = await import("onnxruntime-web");
  const [model, ...files] = process.argv.slice(2);
  const more = Object.fromEntries(beside.map((name) => [name, readFileSync(join(dirname(model), name))]));
  const session = await open(ort, readFileSync(model), more);
  const raw = files.map((file, place) => inputs[place].view(new Uint8Array(readFileSync(file)).buffer));
  for (const [name, values] of Object.entries(await run(ort, session, raw))) console.log(`${name}: ${values.join(" ")}`);
}

// Runs the model in browsers with LiteRT.js, which does not run in Node.
import { constants, inputs, outputs } from "./model.mjs";

/** A session: `model` is the file's content. */
export async function open(litert, model) {
  return litert.loadAndCompile(new Uint8Array(model), { accelerator: "wasm" });
}

/** Real numbers by the outputs' names, for one raw example of each input, in their order. */
export async function run(litert, session, raw) {
  const made = [...constants.map((c) => [c, c.make()]), ...inputs.map((i, place) => [i, i.prepare(raw[place])])];
  const wanted = session.getInputDetails();
  const named = Object.fromEntries(made.map(([one, values]) => [one.there, [one, values]]));
  const feeds = wanted.map((w) => {
    const [one, values] = named[w.name] ?? made[0];
    return litert.Tensor.fromTypedArray(values, one.shape);
  });
  const names = session.getOutputDetails().map((o) => o.name);
  const tensors = await session.run(feeds);
  const answers = outputs.map((o) => {
    const found = tensors[names.includes(o.there) ? names.indexOf(o.there) : o.place];
    return [o.name, Array.from(found.toTypedArray(), o.real)];
  });
  for (const tensor of [...feeds, ...tensors]) tensor.delete();
  return Object.fromEntries(answers);
}

/** What a viewer says in words. */

export const NO_EVIDENCE = "No positive evidence for this class in this layer.";
export const OF_MAXIMUM = "of the layer’s maximum";

export const title = (name) => name.charAt(0).toUpperCase() + name.slice(1);

/** A probability in words; what is not certain is not called 100 %. */
export function percent(share) {
  if (share < 0.0005) return "< 0.1 %";
  return share > 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

/** Prediction and layer in a sentence. */
export function sentenceOf({ prediction, target }, layer) {
  const other = target.index === prediction.index ? "" : `, explained: ${target.name}`;
  const empty = layer.facts.empty ? ": no positive evidence for this class in this layer" : "";
  const said = `Predicted ${prediction.name}, ${percent(prediction.probability)}${other}`;
  return `${said}. Layer ${layer.name}${empty}`;
}

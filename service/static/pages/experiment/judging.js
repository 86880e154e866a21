/** How models did on images: which are right, where they differ, what a filter lets through. */

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => collator.compare(a.path, b.path);

/** Orders of a gallery, by name; `of` gives an image's prediction by the model shown. */
const ORDERS = {
  name: () => byName,
  surest: (of) => (a, b) => (of(b)?.probability ?? -1) - (of(a)?.probability ?? -1) || byName(a, b),
  unsurest: (of) => (a, b) => (of(a)?.probability ?? 2) - (of(b)?.probability ?? 2) || byName(a, b),
};

/**
 * How a model does so far.
 * @param {Map<string, object>} predictions by image
 * @returns {{judged: number, right: number, unread: number, all: number}} judged: whose true class
 *   is known
 */
export function score(predictions) {
  const all = [...predictions.values()];
  const judged = all.filter((one) => one.correct !== null);
  const right = judged.filter((one) => one.correct).length;
  return { judged: judged.length, right, unread: all.filter((one) => one.problem).length, all: all.length };
}

/** Whether models that have read the image name different classes. */
export function differ(path, predictions) {
  const named = [...predictions.values()].map((one) => one.get(path)?.predicted);
  return new Set(named.filter(Boolean)).size > 1;
}

/**
 * The images that filters let through, in their order.
 * @param {object[]} images as GET .../images has them
 * @param {Map<string, Map<string, object>>} predictions by model, by image
 * @param {{model: string, class: string, right: string, differ: string, sort: string,
 *   also?: string}} filters "" where there is none; right: "right", "wrong" or "unread"; also: an
 *   image that is let through in any case
 */
export function chosen(images, predictions, filters) {
  const own = predictions.get(filters.model) ?? new Map();
  const of = (image) => own.get(image.path);
  const verdicts = {
    right: (one) => one?.correct === true,
    wrong: (one) => one?.correct === false,
    unread: (one) => Boolean(one?.problem),
  };
  const wanted = verdicts[filters.right] ?? (() => true);
  const passes = (image) =>
    (!filters.class || image.true_class === filters.class) &&
    wanted(of(image)) &&
    (!filters.differ || differ(image.path, predictions));
  return images
    .filter((image) => image.path === filters.also || passes(image))
    .sort((ORDERS[filters.sort] ?? ORDERS.name)(of));
}

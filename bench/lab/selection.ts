/**
 * Those that the option names, separated by commas: exactly, or as their names begin where none is called exactly that. All without it.
 *
 * @throws Error for a name that nothing has.
 */
export function select<T>(all: readonly T[], nameOf: (each: T) => string, option: string | undefined): readonly T[] {
  if (option === undefined) return all;
  const wanted = option.split(',').flatMap((word) => {
    const text = word.toLowerCase();
    const exact = all.filter((each) => nameOf(each).toLowerCase() === text);
    const found = exact.length > 0 ? exact : all.filter((each) => nameOf(each).toLowerCase().startsWith(text));
    if (found.length > 0) return found;
    throw new Error(`There is no ${JSON.stringify(word)}. There are: ${all.map(nameOf).join(', ')}`);
  });
  return all.filter((each) => wanted.includes(each));
}

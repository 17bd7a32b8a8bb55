// Archives out of sandboxes and into them, for the package `sallyport` of the same version.
export { HostDirectory } from './host-directory.ts';
export { pack } from './pack.ts';
export { counted, explainFailure, unpack } from './unpack.ts';

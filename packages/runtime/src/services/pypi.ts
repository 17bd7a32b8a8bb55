import type { ServiceDefinition } from './service.ts';

const SENTINEL = 'pypi-AgEIcHlwaS5vcmcsallyport-sentinel-no-real-token-here_{rand}';

/** Uploads; downloads need no token. */
export const pypi: ServiceDefinition = {
  name: 'pypi',
  title: 'PyPI uploads',
  variables: [
    { name: 'PYPI_TOKEN', sentinel: SENTINEL },
    { name: 'TWINE_PASSWORD', sentinel: SENTINEL },
    { name: 'UV_PUBLISH_TOKEN', sentinel: SENTINEL },
  ],
  endpoints: [
    {
      hosts: ['upload.pypi.org'],
      overwrite: [{ kind: 'basic', user: '__token__' }],
      strip: { headers: ['cookie'], query: [] },
    },
  ],
  documentation: ['https://pypi.org/help/#apitoken'],
};

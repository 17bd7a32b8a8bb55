import type { ServiceDefinition } from './service.ts';

/**
 * Requests are signed again with the real keys. The sandbox's clients sign with the sentinels, which says what region and service they
 * mean.
 */
export const aws: ServiceDefinition = {
  name: 'aws',
  title: 'Amazon Web Services',
  variables: [
    { name: 'AWS_ACCESS_KEY_ID', sentinel: 'AKIA{base32:16}' },
    { name: 'AWS_SECRET_ACCESS_KEY', sentinel: 'sallyport0sentinel{rand}' },
    { name: 'AWS_SESSION_TOKEN', sentinel: 'IQoJb3JpZ2luX2VjSallyport0sentinel0no0real0session0token0{rand}' },
  ],
  endpoints: [
    {
      hosts: [
        '**.amazonaws.com',
        '**.api.aws',
        '**.amazonaws.com.cn',
        '**.api.amazonwebservices.com.cn',
        '**.amazonaws.eu',
        '**.api.amazonwebservices.eu',
      ],
      overwrite: [],
      // What else carries an AWS signature or token, the signer itself replaces. Trailers are none of its business.
      strip: {
        headers: [
          'x-amz-date',
          'x-amz-region-set',
          'x-amz-s3session-token',
          'x-amz-security-token',
          'x-amz-sso-bearer-token',
        ],
        query: [],
      },
      signer: 'aws',
    },
  ],
  documentation: ['https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html'],
};

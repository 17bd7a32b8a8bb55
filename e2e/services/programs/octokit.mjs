// GitHub's SDK, with the usual variable: REST, pages, GraphQL, and an upload to the other host.
import process from 'node:process';
import { Octokit } from 'octokit';

const client = new Octokit({ auth: process.env.GITHUB_TOKEN, throttle: { enabled: false }, retry: { enabled: false } });

const { data: user } = await client.rest.users.getAuthenticated();
console.log(`whole=${user.bio}`);

const issues = await client.paginate(client.rest.issues.listForRepo, { owner: 'o', repo: 'r', per_page: 1 });
console.log(`pages=${issues.map(({ title }) => title).join()}`);

const { viewer } = await client.graphql('query { viewer { login } }');
console.log(`graphql=${viewer.login}`);

const asset = await client.rest.repos.uploadReleaseAsset({
  owner: 'o',
  repo: 'r',
  release_id: 1,
  name: 'thing.txt',
  data: 'content',
});
console.log(`upload=${asset.data.name}`);
console.log(`held=${process.env.GITHUB_TOKEN}`);

// Loaded before a program with the SDK: its sandboxes find the hosts of the test at the upstream of the test, whatever the program asks for.
import process from 'node:process';
import { Sandbox } from 'sallyport';

const network = JSON.parse(process.env.TEST_NETWORK ?? '{}');
const create = Sandbox.create;
Sandbox.create = async (options = {}, call = {}) =>
  await create.call(Sandbox, { ...options, network: { ...options.network, ...network } }, call);

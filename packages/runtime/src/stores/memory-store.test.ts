import { MemoryStore } from './memory-store.ts';
import { testSecretStore } from './secret-store-contract.testing.ts';

testSecretStore({
  name: 'MemoryStore',
  open: async (context) => {
    const store = new MemoryStore();
    context.after(async () => await store.close());
    return await Promise.resolve(() => store);
  },
  manyValues: 5_000,
  skip: null,
  isLasting: false,
});

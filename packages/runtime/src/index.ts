// The public API of the package. What crosses a process belongs to the SDK and is re-exported from there.
export * from '@sallyport/sdk';

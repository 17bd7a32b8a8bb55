// Node's fetch with a Bearer header: prints the status and the body.
const response = await fetch(process.argv[2], { headers: { authorization: `Bearer ${process.env.API_TOKEN}` } });
console.log(response.status, response.headers.get('x-reflected'));
console.log(await response.text());

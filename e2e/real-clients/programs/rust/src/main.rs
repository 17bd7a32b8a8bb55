//! Rust clients: `real-client reqwest|reqwest-webpki|ureq URL` prints the status, the protocol, `x-reflected`, then the body as it arrives.
use std::io::{Read, Write};

fn copy(mut body: impl Read) {
    let mut buffer = [0; 4096];
    let mut out = std::io::stdout();
    loop {
        let count = body.read(&mut buffer).expect("the body");
        if count == 0 {
            return;
        }
        out.write_all(&buffer[..count]).expect("standard output");
        out.flush().expect("standard output");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (library, url) = (arguments[1].as_str(), arguments[2].as_str());
    let bearer = format!("Bearer {}", std::env::var("API_TOKEN").expect("API_TOKEN"));
    if library == "ureq" {
        let agent = ureq::AgentBuilder::new().build();
        let response = agent.get(url).set("authorization", &bearer).call().expect("a response");
        println!("{} h1 {}", response.status(), response.header("x-reflected").unwrap_or(""));
        copy(response.into_reader());
        return;
    }
    let native = library == "reqwest";
    let client = reqwest::blocking::Client::builder()
        .tls_built_in_native_certs(native)
        .tls_built_in_webpki_certs(!native)
        .build()
        .expect("a client");
    let response = client.get(url).header("authorization", bearer).send().expect("a response");
    let reflected = response.headers().get("x-reflected").map_or("", |value| value.to_str().unwrap_or("?"));
    println!("{} {:?} {}", response.status().as_u16(), response.version(), reflected);
    copy(response);
}

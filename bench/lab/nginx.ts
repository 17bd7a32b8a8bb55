/** Where the upstream keeps its files and listens, and what it wants to see. */
export interface UpstreamSettings {
  readonly path: (...parts: readonly string[]) => string;
  readonly upstreamPort: number;
  /** Where event streams come from, by cleartext HTTP. */
  readonly eventsPort: number;
  readonly credential: string;
}

/** What the small JSON rows answer: about a hundred bytes, as many an API's short answer. */
const SMALL_JSON = '{"id":12345,"name":"sallyport","items":[1,2,3,4,5],"ok":true,"text":"hello world hello world"}';

/**
 * The upstream. Every answer but those of files depends on the credential: a gate that does not put it in gets 401, which clients count as
 * a failure.
 */
export function nginxConfiguration(lab: UpstreamSettings): string {
  const isRoot = process.geteuid?.() === 0;
  return `
${isRoot ? 'user root;' : ''}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${lab.path('nginx.pid')};
error_log stderr error;
events { worker_connections 16000; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  sendfile on;
  client_max_body_size 1g;
  client_body_buffer_size 1m;
  client_body_temp_path ${lab.path('nginx-body')};
  proxy_temp_path ${lab.path('nginx-proxy')};
  fastcgi_temp_path ${lab.path('nginx-fastcgi')};
  uwsgi_temp_path ${lab.path('nginx-uwsgi')};
  scgi_temp_path ${lab.path('nginx-scgi')};
  map $http_authorization $has_credential { default 0; "Bearer ${lab.credential}" 1; }
  server {
    listen 127.0.0.1:${lab.upstreamPort} ssl http2 backlog=4096;
    ssl_certificate ${lab.path('upstream.pem')};
    ssl_certificate_key ${lab.path('upstream.key')};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:bench:10m;
    root ${lab.path('www')};
    location = /json {
      if ($has_credential = 0) { return 401; }
      default_type application/json;
      return 200 '${SMALL_JSON}';
    }
    location = /events {
      if ($has_credential = 0) { return 401; }
      proxy_pass http://127.0.0.1:${lab.eventsPort};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
    location /sink/ { dav_methods PUT; }
  }
}
`;
}

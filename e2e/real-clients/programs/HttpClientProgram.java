import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Java's HttpClient: prints the status, the protocol, x-reflected, then the body as it arrives. */
public class HttpClientProgram {
    public static void main(String[] args) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
            .header("Authorization", "Bearer " + System.getenv("API_TOKEN"))
            .build();
        HttpResponse<InputStream> response =
            HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofInputStream());
        String reflected = response.headers().firstValue("x-reflected").orElse("");
        System.out.println(response.statusCode() + " " + response.version() + " " + reflected);
        byte[] buffer = new byte[4096];
        try (InputStream body = response.body()) {
            for (int count; (count = body.read(buffer)) > 0; ) {
                System.out.write(buffer, 0, count);
                System.out.flush();
            }
        }
    }
}

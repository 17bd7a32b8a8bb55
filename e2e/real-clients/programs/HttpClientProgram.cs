using System;
using System.Collections.Generic;
using System.Linq;
using System.Net.Http;
using System.Threading.Tasks;

/// <summary>.NET's HttpClient: prints the status, the protocol, x-reflected, then the body as it arrives.</summary>
public static class HttpClientProgram
{
    public static void Main(string[] args)
    {
        Run(args[0], new Version(args[1])).GetAwaiter().GetResult();
    }

    private static async Task Run(string url, Version version)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, url) { Version = version };
        request.Headers.Add("Authorization", "Bearer " + Environment.GetEnvironmentVariable("API_TOKEN"));
        var response = await new HttpClient().SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        IEnumerable<string> reflected;
        if (!response.Headers.TryGetValues("x-reflected", out reflected)) reflected = new string[0];
        Console.WriteLine((int)response.StatusCode + " " + response.Version + " " + reflected.FirstOrDefault());
        var output = Console.OpenStandardOutput();
        var body = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[4096];
        for (int count; (count = await body.ReadAsync(buffer, 0, buffer.Length)) > 0;)
        {
            output.Write(buffer, 0, count);
            output.Flush();
        }
    }
}

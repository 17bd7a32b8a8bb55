# Ruby's Net::HTTP: prints the status, x-reflected, then the body as it arrives.
require "net/http"

$stdout.sync = true
uri = URI(ARGV[0])
Net::HTTP.start(uri.host, uri.port, use_ssl: true) do |http|
  http.request(Net::HTTP::Get.new(uri, "Authorization" => "Bearer " + ENV.fetch("API_TOKEN"))) do |response|
    puts "#{response.code} #{response["x-reflected"]}"
    response.read_body { |chunk| print chunk }
  end
end

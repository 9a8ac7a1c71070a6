import com.sun.net.httpserver.HttpServer;
import feign.Feign;
import feign.RequestLine;
import jakarta.servlet.http.HttpServletRequest;
import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.env.MapPropertySource;
import org.springframework.http.client.JdkClientHttpRequestFactory;
import org.springframework.scheduling.concurrent.ThreadPoolTaskExecutor;
import org.springframework.web.client.RestClient;
import org.springframework.web.client.RestTemplate;

/** What the page's text does with Spring itself, step by step; a line for each. */
public class Check {
    interface Other {
        @RequestLine("GET /other")
        String other();
    }

    @Configuration
    static class Application {
        @Value("${greeting}")
        String greeting;

        @Bean
        String said() {
            return greeting;
        }
    }

    public static void main(String[] arguments) throws Exception {
        HttpServer echo = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        // Another service: it answers the version that it was called with.
        echo.createContext("/", exchange -> {
            byte[] said = String.valueOf(exchange.getRequestHeaders().getFirst("x-gray-version")).getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, said.length);
            exchange.getResponseBody().write(said);
            exchange.close();
        });
        echo.start();
        String other = "http://127.0.0.1:" + echo.getAddress().getPort();
        header(other);
        threads(other);
        echo.stop(0);
        properties(arguments);
        System.exit(0);
    }

    private static RestTemplate template() {
        RestTemplate template = new RestTemplate(new JdkClientHttpRequestFactory());
        template.getInterceptors().add(new GrayVersionInterceptor());
        return template;
    }

    private static void header(String other) throws Exception {
        RestTemplate template = template();
        RestClient client = RestClient.builder().requestFactory(new JdkClientHttpRequestFactory())
                .requestInterceptor(new GrayVersionInterceptor()).build();
        Other feign = Feign.builder().requestInterceptor(new GrayVersionInterceptor()).target(Other.class, other);
        new GrayVersionFilter().doFilter(arriving("gray"), null, (in, out) -> {
            System.out.println("template " + template.getForObject(other + "/other", String.class));
            System.out.println("client " + client.get().uri(other + "/other").retrieve().body(String.class));
            System.out.println("feign " + feign.other());
        });
        new GrayVersionFilter().doFilter(arriving(null), null, (in, out) ->
                System.out.println("without " + template.getForObject(other + "/other", String.class)));
        try {
            new GrayVersionFilter().doFilter(arriving("gray"), null, (in, out) -> {
                throw new IllegalStateException("broken");
            });
        } catch (IllegalStateException error) {
            System.out.println("after " + error.getMessage() + " " + GrayVersion.get());
        }
    }

    /** A request of a container, as far as the filter looks at it. */
    private static HttpServletRequest arriving(String version) {
        return (HttpServletRequest) Proxy.newProxyInstance(Check.class.getClassLoader(), new Class<?>[] {HttpServletRequest.class},
                (proxy, method, parts) -> method.getName().equals("getHeader") && "x-gray-version".equals(parts[0]) ? version : null);
    }

    private static void threads(String other) throws Exception {
        ThreadPoolTaskExecutor spring = new ThreadPoolTaskExecutor();
        spring.setMaxPoolSize(1);
        spring.setTaskDecorator(GrayVersion::wrap);
        spring.afterPropertiesSet();
        ExecutorService pool = Executors.newSingleThreadExecutor();
        RestTemplate template = template();
        GrayVersion.with("gray", () -> {
            spring.submit(() -> System.out.println("spring " + template.getForObject(other + "/other", String.class))).get();
            CompletableFuture.runAsync(
                    () -> System.out.println("future " + GrayVersion.get()),
                    command -> pool.execute(GrayVersion.wrap(command))).join();
            return null;
        });
        pool.submit(() -> System.out.println("pool " + GrayVersion.get())).get();
        spring.submit(() -> System.out.println("again " + GrayVersion.get())).get();
        System.out.println("queue " + GrayVersion.with("feat1", GrayVersion::get));
        pool.shutdown();
        spring.shutdown();
    }

    private static void properties(String[] arguments) throws Exception {
        GraygatePropertySource values =
                new GraygatePropertySource(URI.create(arguments[0]), arguments[1], arguments[2]);
        try (AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext()) {
            context.getEnvironment().getPropertySources()
                    .addFirst(new MapPropertySource("own", Map.of("own.key", "own")));
            context.getEnvironment().getPropertySources().addFirst(values);
            context.register(Application.class);
            context.refresh();
            System.out.println("value " + context.getBean("said"));
            System.out.println("other sources " + context.getEnvironment().getProperty("own.key"));
            System.out.println("none " + context.getEnvironment().getProperty("no.such.key"));
            // The test changes the value once it has read this line.
            System.out.println("waiting");
            System.out.flush();
            for (int turn = 0; turn < 400 && "hello \"gray\"".equals(now(context)); turn++) {
                Thread.sleep(50);
            }
            System.out.println("changed " + now(context));
        }
    }

    private static String now(AnnotationConfigApplicationContext context) {
        return context.getEnvironment().getProperty("greeting");
    }
}

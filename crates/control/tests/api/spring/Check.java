import feign.RequestTemplate;
import jakarta.servlet.http.HttpServletRequest;
import java.net.URI;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.springframework.http.HttpHeaders;

/** What the page's text does, step by step; a line for each. */
public class Check {
    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newSingleThreadExecutor();
        HttpHeaders headers = new HttpHeaders();
        RequestTemplate template = new RequestTemplate();
        HttpServletRequest request = name -> name.equals("x-gray-version") ? "gray" : null;
        new GrayVersionFilter().doFilter(request, null, (in, out) -> {
            new GrayVersionInterceptor().intercept(() -> headers, new byte[0], (sent, body) -> null);
            new GrayVersionInterceptor().apply(template);
            CompletableFuture.runAsync(
                    () -> System.out.println("thread " + GrayVersion.get()),
                    command -> pool.execute(GrayVersion.wrap(command))).join();
        });
        System.out.println("rest " + headers.all + " feign " + template.all);
        System.out.println("after " + GrayVersion.get());
        pool.submit(() -> System.out.println("pool " + GrayVersion.get())).get();
        System.out.println("queue " + GrayVersion.with("feat1", GrayVersion::get));
        pool.shutdown();

        GraygatePropertySource values =
                new GraygatePropertySource(URI.create(arguments[0]), arguments[1], arguments[2]);
        System.out.println("value " + values.getProperty("greeting"));
        System.out.println("none " + values.getProperty("no.such.key"));
        // The test changes the value once it has read this line.
        System.out.println("waiting");
        System.out.flush();
        for (int turn = 0; turn < 200 && "hello \"gray\"".equals(values.getProperty("greeting")); turn++) {
            Thread.sleep(50);
        }
        System.out.println("changed " + values.getProperty("greeting"));
        System.exit(0);
    }
}

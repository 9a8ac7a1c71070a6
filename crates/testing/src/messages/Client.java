// The push consumer of RocketMQ in Java, with the arguments and the lines of client.py. `java Client.java` compiles it.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.java.message.MessageViewImpl;

public class Client {
    public static void main(String[] given) throws Exception {
        if (!given[0].equals("push")) {
            throw new IllegalArgumentException(given[0]);
        }
        // Unless told otherwise this client speaks TLS.
        ClientConfiguration settings = ClientConfiguration.newBuilder()
            .setEndpoints(given[1]).enableSsl(false).setRequestTimeout(Duration.ofSeconds(3)).build();
        PushConsumer consumer = ClientServiceProvider.loadService().newPushConsumerBuilder()
            .setClientConfiguration(settings).setConsumerGroup(given[3]).setSubscriptionExpressions(filters(given[2]))
            .setMessageListener(Client::consume).build();
        tell("ready");
        while (System.in.read() >= 0) {
        }
        consumer.close();
        System.exit(0);
    }

    private static synchronized void tell(Object... words) {
        StringBuilder line = new StringBuilder();
        for (Object word : words) {
            line.append(line.length() == 0 ? "" : " ").append(word);
        }
        System.out.println(line);
        System.out.flush();
    }

    private static String seconds(long milliseconds) {
        return String.format("%.4f", milliseconds / 1000.0);
    }

    private static Map<String, FilterExpression> filters(String topics) {
        Map<String, FilterExpression> found = new HashMap<>();
        for (String one : topics.split(",")) {
            String[] parts = (one.contains(":") ? one : one + ":tag:*").split(":", 3);
            FilterExpressionType type = parts[1].equals("sql") ? FilterExpressionType.SQL92 : FilterExpressionType.TAG;
            found.put(parts[0], new FilterExpression(parts[2], type));
        }
        return found;
    }

    private static ConsumeResult consume(MessageView message) {
        MessageViewImpl whole = (MessageViewImpl) message;
        String name = StandardCharsets.UTF_8.decode(message.getBody()).toString();
        String handle = whole.getReceiptHandle();
        String via = handle.contains("~drained~") ? "drained" : handle.contains("~gray~") ? "lane" : "base";
        String mark = message.getProperties().getOrDefault("gray_lane", "-");
        int attempt = message.getDeliveryAttempt();
        tell("got", name, attempt, seconds(whole.getDecodeTimestamp()), via, mark);
        long pause = name.startsWith("slow") ? 3_000 : name.startsWith("long") ? 30_000 : 0;
        try {
            Thread.sleep(pause);
        } catch (InterruptedException ended) {
            return ConsumeResult.FAILURE;
        }
        boolean fails = name.startsWith("once") && attempt <= 1 || name.startsWith("dead");
        tell(fails ? "failed" : "done", name, seconds(System.currentTimeMillis()));
        return fails ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
    }
}

import java.nio.file.Files;
import java.nio.file.Path;
import org.codehaus.groovy.ast.ModuleNode;
import org.codehaus.groovy.ast.expr.BinaryExpression;
import org.codehaus.groovy.ast.expr.ClosureExpression;
import org.codehaus.groovy.ast.expr.ConstantExpression;
import org.codehaus.groovy.ast.expr.Expression;
import org.codehaus.groovy.ast.expr.MethodCallExpression;
import org.codehaus.groovy.ast.expr.TupleExpression;
import org.codehaus.groovy.ast.stmt.BlockStatement;
import org.codehaus.groovy.ast.stmt.ExpressionStatement;
import org.codehaus.groovy.ast.stmt.Statement;
import org.codehaus.groovy.control.CompilationUnit;
import org.codehaus.groovy.control.Phases;

/** Parses a Jenkinsfile as Groovy, and prints its calls, one on a line, indented by how deep they are. */
public class Stages {
    public static void main(String[] args) throws Exception {
        CompilationUnit unit = new CompilationUnit();
        unit.addSource("Jenkinsfile", Files.readString(Path.of(args[0])));
        unit.compile(Phases.CONVERSION);
        for (ModuleNode module : unit.getAST().getModules()) {
            block(module.getStatementBlock(), 0);
        }
    }

    private static void block(Statement statement, int depth) {
        if (statement instanceof BlockStatement) {
            for (Statement each : ((BlockStatement) statement).getStatements()) {
                block(each, depth);
            }
        } else if (statement instanceof ExpressionStatement) {
            expression(((ExpressionStatement) statement).getExpression(), depth);
        } else {
            print(depth, "statement", statement.getClass().getSimpleName());
        }
    }

    private static void expression(Expression expression, int depth) {
        if (expression instanceof BinaryExpression) {
            BinaryExpression both = (BinaryExpression) expression;
            print(depth, "set", both.getLeftExpression().getText());
            return;
        }
        if (!(expression instanceof MethodCallExpression)) {
            print(depth, "expression", expression.getClass().getSimpleName());
            return;
        }
        MethodCallExpression call = (MethodCallExpression) expression;
        String first = "";
        Expression arguments = call.getArguments();
        if (arguments instanceof TupleExpression) {
            for (Expression each : ((TupleExpression) arguments).getExpressions()) {
                if (each instanceof ConstantExpression && first.isEmpty()) {
                    first = ((ConstantExpression) each).getText();
                }
            }
        }
        print(depth, call.getMethodAsString(), first);
        if (arguments instanceof TupleExpression) {
            for (Expression each : ((TupleExpression) arguments).getExpressions()) {
                if (each instanceof ClosureExpression) {
                    block(((ClosureExpression) each).getCode(), depth + 1);
                }
            }
        }
    }

    private static void print(int depth, String name, String first) {
        System.out.println("  ".repeat(depth) + name + "\t" + first.replace("\n", " "));
    }
}
